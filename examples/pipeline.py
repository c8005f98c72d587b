"""A scikit-learn pipeline from a store, sources left out: `python examples/pipeline.py STORE`."""

import sys

from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from aigiscan import EmbeddingStore
from aigiscan.detector.table import table_from_store

table = table_from_store(EmbeddingStore(sys.argv[1]))
model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
folds = StratifiedGroupKFold(n_splits=2)
X, y = table.channels["embedding"], table.label
scores = cross_val_score(model, X, y, groups=table.sources, cv=folds, scoring="balanced_accuracy")
print(f"balanced accuracy on left-out sources: {scores.mean():.3f}")
