"""Mission files, written and read: what drones and their apps are told.

A `flightplan.formats.mission.Mission` goes into a file of any format and comes out of one; see
`flightplan.formats.mission_files`.
"""
