"""Replays a real trade bill of WeChat Pay through the center and compares the totals."""
