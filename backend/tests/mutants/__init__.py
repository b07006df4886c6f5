"""Planted lies. Each `*.patch` breaks one promise of the code and names the test that must turn red.

A patch is a unified diff against `backend/`, under two lines of its own:

    Lie: what is untrue once it is applied
    Test: the pytest node that finds it, for both stacks; or `embedded:` or `server:` before it, for one
"""
