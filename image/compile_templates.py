"""Write the byte code of the packaged templates to where the agent looks for it."""  # noqa: INP001 - a script of the build

from ipfailover_agent.core.rendering import render

for path, data in render.byte_code().items():
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
