"""Serve Pacemaker and libvirt: the resource agent's slow actions and libvirt's hook."""

__all__: list[str] = []
