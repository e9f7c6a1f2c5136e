"""Pushed versions: how one appears whole or not at all, which were rolled back, which is a night's champion."""
