"""One run of a survey: what is asked, planned, watched and told.

A request comes in; stages are run in their order, and a record of the run goes out.
"""
