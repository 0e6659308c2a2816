"""Tables of few runs, of which a test names only what matters."""

import pandas as pd

from scalelaw.runs import RunTable

CELLS = {"variant": "N0", "params": 100, "images_seen": 1000}


def runs(*rows, **common):
    return RunTable.from_frame(pd.DataFrame([{**CELLS, **common, **row} for row in rows]))
