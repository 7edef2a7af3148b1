"""After the flight: from cards of photographs to a survey folder.

>>> import ingest
>>> ingest.ingest_photographs("card", to="survey").added
('IMG_0001.JPG', 'IMG_0002.JPG')
"""

from typing import TYPE_CHECKING

from tmp import load_on_use

__all__ = ["ControlOptions", "IngestResult", "add_control", "ingest_photographs"]

if TYPE_CHECKING:
    from ingest.control import ControlOptions, add_control
    from ingest.photographs import IngestResult, ingest_photographs
else:
    __getattr__ = load_on_use(
        __name__,
        {
            "ControlOptions": "ingest.control",
            "IngestResult": "ingest.photographs",
            "add_control": "ingest.control",
            "ingest_photographs": "ingest.photographs",
        },
    )
