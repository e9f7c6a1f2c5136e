"""The project's own glue, a room for each thing that it does: see docs/rooms.md."""
