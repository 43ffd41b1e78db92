"""`kiosk-fleet`: doors set up, updated and looked at from the technician's laptop, over SSH.

Above `kiosk` and `city`; nothing of either imports it. `fleet/on_device/` is the part that runs on a door, as root.
"""
