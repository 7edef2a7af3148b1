"""What a team takes along: plan folder, maps, briefing, light windows, missions by sortie.

A proven plan comes in; files to print, open and load go out.
"""
