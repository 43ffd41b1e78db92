"""Kept for tools that still ask for setup.py; everything stands in pyproject.toml."""

from setuptools import setup

setup()
