"""Copy the folder of a VM in the shared directory, so that there are many; or remove the copies."""

import re
import shutil
import sys
import uuid
from pathlib import Path

verb, template, count = sys.argv[1], Path("/srv/vms") / sys.argv[2], int(sys.argv[3])

for number in range(count):
    folder = template.with_name(f"many{number}")
    if verb == "remove":
        shutil.rmtree(folder, ignore_errors=True)
        continue
    shutil.copytree(template, folder)
    definition = folder / "domain.xml"
    xml = definition.read_text().replace(template.name, folder.name)
    definition.write_text(re.sub(r"<uuid>.*?</uuid>", f"<uuid>{uuid.uuid4()}</uuid>", xml))
