"""The fleet: selectors, enrolment, presence, desired against reported."""
