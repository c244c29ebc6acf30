"""Write the byte code of the packaged templates to where the agent looks for it."""  # noqa: INP001 - a script of the build

from ipfailover_agent.config import byte_code, renderer, templating

environment = renderer.environment_of(
    templating.loader(None), byte_code.ByteCode(byte_code.DIRECTORY, keeps=True)
)
for name in environment.list_templates():
    environment.get_template(name)
