"""Whole machines for tests/system: a Debian with a booted systemd, as a container or as a virtual machine.

parts.py      what is slow to make is made once and shared: by tests, xdist workers and runs
debian.py     the root file system and the kernel, from Debian's packages
release.py    what an administrator downloads: the wheel, its dependencies, deploy/ and systemd/
base.py       Machine: run a command in it, write a file, wait for a condition
container.py  Container: systemd-nspawn --boot, the fast one
virtual.py    VirtualMachine: qemu without KVM, for what needs a kernel of its own (cgroup v2)
agent.py      what answers in a virtual machine
able.py       whether this machine can boot one, and why not
"""
