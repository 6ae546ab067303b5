"""Typed bodies: JSON (or the few other forms) ⇄ domain values, grouped by subject.

Every `decode_…` raises RequestFailed (code 1, what Apache answers to a body it cannot read) with a
text that names the body and the reason; sizes are bounded by the frame, nesting and inflation here.
"""
