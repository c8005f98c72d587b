"""Where evaluation looks for folds; they live beside the classifiers because fitting needs them too."""

from aigiscan.classifiers.folds import group_folds, out_of_fold, source_folds, train_test

__all__ = ["group_folds", "out_of_fold", "source_folds", "train_test"]
