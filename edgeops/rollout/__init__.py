"""Rollouts: the plan, the table of their states, and what each step orders. All pure."""
