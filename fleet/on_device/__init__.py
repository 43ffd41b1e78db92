"""What runs on the door as root: a program of its own, the standard library only, Python 3.11 and later.

The laptop sends it as a zip (`fleet.agent`), for a bare device has nothing else of ours. It imports nothing outside
this folder. What it is asked and what it answers is JSON; nothing in it names a person.
"""
