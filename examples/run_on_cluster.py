"""Run a survey on a Slurm cluster, from card to report: SURVEY PROFILE CARD [CARD ...].

Run it again after an interruption: it goes on where it was.  ``tmp status SURVEY`` tells how it is.
"""

import sys
from pathlib import Path

import flows
import tmp


def main(survey: str, profile: str, *cards: str) -> Path | None:
    """Run a survey's stages as jobs, and return where its report is."""
    request = flows.SurveyRequest(cards=tuple(map(Path, cards)))
    how = flows.RunOptions(on=flows.Where.SLURM, profile=flows.read_profile(Path(profile)))
    with tmp.bar() as track:
        made = flows.run_survey(survey, request, how, track=track)
    for stage, tiles in made.holes.items():
        print(f"{stage} has holes: {', '.join(tiles)}")
    print(made.report_path)
    return made.report_path


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) > 3 else sys.exit(__doc__)
