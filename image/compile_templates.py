"""Write the byte code of the packaged templates to where the agent looks for it."""  # noqa: INP001 - a script of the build

from ipfailover_agent.config import renderer, templating

environment = renderer.environment_of(
    templating.loader(None), templating.ByteCode(templating.BYTE_CODE, keeps=True)
)
for name in environment.list_templates():
    environment.get_template(name)
