"""Mastodon: posts that mention an account or have a hashtag, with edits and deletes."""
