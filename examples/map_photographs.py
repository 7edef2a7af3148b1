"""Take photographs in and map them: SURVEY FOLDER [FOLDER ...]."""

import os
import sys

import flows
import ingest
import tmp


def main(survey: str, *folders: str) -> tmp.Survey:
    """Make the products of a survey from folders of photographs, and return it."""
    with tmp.bar() as track:
        taken = ingest.ingest_photographs(folders, to=survey, track=track)
        for capture in taken.flagged:
            print(f"{capture.name}: {capture.reason}")
        options = flows.MapOptions(workers=os.cpu_count() or 1)
        made = flows.map_survey(survey, options, track=track)
    mapped = tmp.open_survey(survey)
    print(f"{mapped.quality['verdict']}: {', '.join(mapped.products)}; see {made.report_path}")
    return mapped


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) > 2 else sys.exit(__doc__)
