"""From a survey's photographs to orientation, surface, orthomosaic and point cloud."""
