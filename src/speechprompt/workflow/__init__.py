"""The workflow: a checked configuration comes in; paths, settings and resources of rules go out.

The rule files call this room and hold no logic of their own.
"""
