"""Rows that others hand in: the folder that is handed in, and what is checked before its rows stand on a leaderboard."""
