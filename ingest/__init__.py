"""After the flight: from cards of photographs to a survey folder."""
