"""aigiscan tells photographs from AI-generated images and says how sure it is, and why."""

__version__ = "0.1.0"
