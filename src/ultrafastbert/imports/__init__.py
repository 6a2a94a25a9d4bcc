"""What importing this package does: names on demand, calls after imports, modules that moved.

`import ultrafastbert` imports neither torch nor transformers. `lazy` imports what a name needs when
the name is first used; `hooks` registers operators and models once those libraries are there;
`extras` says what to install where a library is missing.
"""
