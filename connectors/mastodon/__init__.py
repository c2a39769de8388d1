"""Mastodon: posts that mention an account or carry a hashtag, with their edits and deletes."""
