"""Statistics: intervals, effect sizes and sequential tests on counts; pure, numpy only.

Nothing in here reads a clock, a file or a global source of chance. Alarms come only from the
e-detectors (``edetector``, ``bernoulli``); what ``effect`` measures is shown, never decided on.
"""
