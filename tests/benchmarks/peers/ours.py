"""First fit of a fresh process, its first bootstrap, and one from the fit alone. Usage: python ours.py TABLE.csv N"""

import itertools
import json
import sys
import time

import pandas as pd

import scalelaw as sl

table, replicates = pd.read_csv(sys.argv[1]), int(sys.argv[2])
law, objective, search = sl.laws.SizeData, sl.Huber(1e-3), sl.fit  # the package loads its parts when they are named
seconds = [time.perf_counter()]
fit = search(law, N=table["N"], D=table["D"], L=table["loss"], objective=objective)
for starts in (2, 1):
    seconds.append(time.perf_counter())
    certified = fit.bootstrap(replicates, seed=starts, starts=starts).certified.mean()
seconds.append(time.perf_counter())
first_fit, cold, warm = (b - a for a, b in itertools.pairwise(seconds))
print(json.dumps({"fit": first_fit, "cold": cold, "warm": warm, "certified": certified}))
