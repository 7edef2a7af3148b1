"""Where stages run: in processes of this machine, or as jobs of a cluster."""
