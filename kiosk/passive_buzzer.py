"""A buzzer that sounds only while it gets a tone, with the on and off of every other line.

`gpio_alerts` claims it in place of a plain output where the configuration says that the buzzer is passive.
"""

from typing import Any


def passive_buzzer(gpio: int, hz: int, *, active_high: bool, factory: Any) -> Any:  # noqa: ANN401 - gpiozero: no types
    """Claim a GPIO at rest; `on` makes a tone of `hz`, as loud as a square wave can be.

    Raises:
        what the pin factory's driver raises; PinPWMUnsupported where it makes no tones, as gpiozero's plain mock pins.
    """
    from gpiozero import PWMOutputDevice  # noqa: PLC0415 - driver, imported where used

    class PassiveBuzzer(PWMOutputDevice):  # type: ignore[misc]  # gpiozero ships no types
        """Half of each period is high."""

        def on(self) -> None:
            self.value = 0.5

    return PassiveBuzzer(gpio, active_high=active_high, initial_value=0, frequency=hz, pin_factory=factory)
