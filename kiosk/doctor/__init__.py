"""`kiosk doctor`: looks at one door part by part, says what is wrong, and how to mend it.

`kiosk.doctor.examine` has the order and the time limits; each check is a small function of a `Case` that gives
findings. Refuses to mend anything, and to disturb a door that runs: that one is asked. Nothing personal is in a
finding. `kiosk.technician` has the verb.
"""
