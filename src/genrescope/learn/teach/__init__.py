"""Teach it genres of your own: a head on pretrained encoders, and what to doubt in the labels."""

from genrescope.learn.teach.lesson import Taught, TeachSettings, teach

__all__ = ["Taught", "TeachSettings", "teach"]
