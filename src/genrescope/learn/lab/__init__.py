"""The laboratory: any table, any classifier, the same folds, a leaderboard."""
