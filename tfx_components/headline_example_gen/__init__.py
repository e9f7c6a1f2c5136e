"""The component that turns the drops of a window into split, weighted examples."""
