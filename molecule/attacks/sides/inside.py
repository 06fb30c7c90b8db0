# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hostile program tries from the place of rsync, and what it sees there: Python to be run on the server."""

from __future__ import annotations

# Names that the scripts are given: OWN her directory in the jail, JIM Jim's tree on the server, ADDRESS the server's.
START = """
import ctypes, json, os, resource, socket, stat, struct, subprocess, sys, time, fcntl, errno
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *words):
    result = libc.syscall(number, *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def c(function, *words):
    if getattr(libc, function)(*words) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
def read(path):
    with open(path, "rb") as file:
        return file.read(200)
def write(path):
    with open(path, "wb") as file:
        file.write(b"Eve was here")
def link(target, name):
    try:
        os.unlink(f"{OWN}/{name}")
    except FileNotFoundError:
        pass
    os.symlink(target, f"{OWN}/{name}")
    return f"{OWN}/{name}"
def connect(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as one:
        one.settimeout(3)
        one.connect(address)
        if kind == socket.SOCK_DGRAM:
            one.send(b"x")
def run(*words):
    done = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise OSError(done.returncode, done.stderr.decode("utf-8", "replace")[-200:])
    return done.stdout
def own(name):
    path = f"{OWN}/{name}"
    write(path)
    return path
def attempt(what):
    try:
        return "done: " + repr(what())
    except OSError as error:
        return f"refused: {error}"
    except ValueError as error:
        return f"refused: {error}" if "not allowed to raise" in str(error) else repr(error)
"""

# What it would gain, and how: each must end in an OSError.
ATTEMPTS = {
    "read /etc/passwd: login names": 'read("/etc/passwd")',
    "read /etc/shadow: passwords": 'read("/etc/shadow")',
    "list /library/users: all serials": 'os.listdir("/library/users")',
    "list Jim's tree: his documents": "os.listdir(JIM)",
    "read Jim's account: his key": 'read(f"{JIM}/account.json")',
    "climb out of the tree: the server's root": 'read(f"{OWN}/../../../../../../etc/passwd")',
    "list above the tree: her own history, writable": 'os.listdir(f"{OWN}/../datastore")',
    "her own .state: the mark of a run that never was": 'os.listdir(f"{OWN}/../.state")',
    "a link to /etc/passwd: login names": 'read(link("/etc/passwd", "l1"))',
    "a link to Jim's tree: his documents": 'os.listdir(link(JIM, "l2"))',
    "a link up: her own history": 'os.listdir(link("../datastore", "l3"))',
    "a link to /proc: other processes": 'os.listdir(link("/proc/1/root", "l4"))',
    "/proc: other processes": 'os.listdir("/proc")',
    "/sys: the machine": 'os.listdir("/sys")',
    "/dev: disks": 'os.listdir("/dev")',
    "/run: the parts' sockets": 'os.listdir("/run")',
    "/tmp: a place for others to fall over": 'write("/tmp/x")',
    "write /: a root of her own": 'write("/x")',
    "mkdir /etc: a password file of her own": 'os.mkdir("/etc")',
    "write /usr: a program of hers for everybody": 'write("/usr/bin/rsync")',
    "rename in /usr: a library of hers for everybody": 'os.rename("/usr/bin/env", "/usr/bin/rsync")',
    "change directory through a descriptor: the server's root": "[os.fchdir(n) for n in range(3, 300)]",
    "open beside a descriptor: the server's root": 'os.open("..", os.O_RDONLY, dir_fd=3)',
    "open by handle: any file of the disk": "call(304, 3, b'x' * 16, 0)",
    "chroot: a root of her own": "os.chroot(OWN)",
    "pivot_root: the root below": 'call(155, b"/", b"/datastore-current")',
    "mount proc: other processes": 'c("mount", b"proc", OWN.encode(), b"proc", 0, 0)',
    "mount a tmpfs: a place without a limit": 'c("mount", b"x", OWN.encode(), b"tmpfs", 0, 0)',
    "mount a disk: the whole library": 'c("mount", b"/dev/loop0", OWN.encode(), b"btrfs", 0, 0)',
    "bind mount: history, writable": 'c("mount", b"/usr", OWN.encode(), 0, 4096, 0)',
    "remount /usr: programs writable": 'c("mount", 0, b"/usr", 0, 32 | 4096, 0)',
    "remount incoming: programs and devices from it": 'c("mount", 0, OWN.encode(), 0, 32 | 4096, 0)',
    "umount: what lies below the jail": 'c("umount2", OWN.encode(), 2)',
    "umount /: what lies below the jail": 'c("umount2", b"/", 2)',
    "open_tree: a mount that nobody sees": "call(428, -100, OWN.encode(), 1)",
    "fsopen: a file system of her own": 'call(430, b"tmpfs", 0)',
    "setns: another's namespaces": "call(308, 0, 0)",
    "unshare user: all capabilities, over a kernel hole": 'c("unshare", 0x10000000)',
    "unshare mount: mounts of her own": 'c("unshare", 0x00020000)',
    "unshare network: interfaces of her own": 'c("unshare", 0x40000000)',
    "unshare pid: processes that nobody ends": 'c("unshare", 0x20000000)',
    "unshare ipc: memory that nobody counts": 'c("unshare", 0x08000000)',
    "unshare uts: another name": 'c("unshare", 0x04000000)',
    "unshare cgroup: limits of her own": 'c("unshare", 0x02000000)',
    "unshare time: another clock": 'c("unshare", 0x00000080)',
    "setuid root: everything": "os.setuid(0)",
    "setuid another learner: his documents": "os.setuid(os.getuid() - 1)",
    "setgid root: the server's files": "os.setgid(0)",
    "setgroups: the services' groups": "os.setgroups([0])",
    "capset: capabilities": "c('capset', struct.pack('II', 0x20080522, 0), b'\\xff' * 24)",
    "su: root": 'run("/usr/bin/su", "-c", "id")',
    "mount by its set-uid program: root": 'run("/usr/bin/mount", "--bind", "/usr", OWN)',
    "passwd by its set-uid program: a password": 'run("/usr/bin/passwd", "-d")',
    "run a program from incoming: code that nobody installed": (
        'run((own("p"), os.chmod(OWN + "/p", 0o755))[0] or OWN + "/p")'
    ),
    "map code from incoming: code that nobody installed": (
        "__import__('mmap').mmap(os.open(own('m'), os.O_RDWR), 4, prot=4 | 1)"
    ),
    "a block device: the whole disk": 'os.mknod(f"{OWN}/disk", 0o60666, os.makedev(7, 0))',
    "a character device: the machine's memory": 'os.mknod(f"{OWN}/mem", 0o20666, os.makedev(1, 1))',
    "chown to root: a set-uid file of root's": 'os.chown(own("r"), 0, 0)',
    "chown to Jim: his allowance filled": 'os.chown(own("r"), os.getuid() - 1, -1)',
    "a trusted attribute: what root's programs believe": 'os.setxattr(own("x"), "trusted.x", b"x")',
    "a security attribute: capabilities of a file": 'os.setxattr(own("x"), "security.capability", b"x" * 20)',
    "an immutable file: what nobody can delete": (
        "fcntl.ioctl(os.open(own('i'), os.O_RDWR), 0x40086602, struct.pack('l', 0x10))"
    ),
    "an append-only file: what nobody can delete": (
        "fcntl.ioctl(os.open(own('i'), os.O_RDWR), 0x40086602, struct.pack('l', 0x20))"
    ),
    "btrfs tree search: every name on the disk": (
        "fcntl.ioctl(os.open(OWN, os.O_RDONLY), 0xD0009411, bytearray(4096))"
    ),
    "btrfs inode lookup in another subvolume: names in it": (
        "fcntl.ioctl(os.open(OWN, os.O_RDONLY), 0xD0009412, bytearray(struct.pack('QQ', 256, 257) + bytes(4080)))"
    ),
    "btrfs logical lookup: whose block it is": ("fcntl.ioctl(os.open(OWN, os.O_RDONLY), 0xC0389424, bytearray(56))"),
    "btrfs deletion by number: another's snapshot": (
        "fcntl.ioctl(os.open(OWN, os.O_RDONLY), 0x5000943F, bytearray(struct.pack('qQQ', 0, 0, 16) + bytes(32) + "
        "struct.pack('Q', 256) + bytes(4032)))"
    ),
    "btrfs resize: the library smaller": (
        "fcntl.ioctl(os.open(OWN, os.O_RDONLY), 0x50009403, "
        "bytearray(struct.pack('q', 0) + b'1:1g'.ljust(4088, b'\\0')))"
    ),
    "btrfs balance: the disk busy for hours": "fcntl.ioctl(os.open(OWN, os.O_RDONLY), 0x5000940C, bytearray(4096))",
    "btrfs scrub: the disk busy for hours": "fcntl.ioctl(os.open(OWN, os.O_RDONLY), 0xC400941B, bytearray(1024))",
    "trim: the disk busy": "fcntl.ioctl(os.open(OWN, os.O_RDONLY), 0xC0185879, bytearray(24))",
    "freeze: nobody writes any more": "fcntl.ioctl(os.open(OWN, os.O_RDONLY), 0xC0045877, 0)",
    "quotas on: every deletion slow": (
        "fcntl.ioctl(os.open(OWN, os.O_RDONLY), 0xC0109428, bytearray(struct.pack('QQ', 1, 0)))"
    ),
    "the abstract socket of a place: another's place": 'connect(socket.AF_UNIX, "\\0xs-place-0")',
    "the snapshot part's socket: another's tree in the report": 'connect(socket.AF_UNIX, "/run/xs/snapshot")',
    "that socket through a link: another's tree in the report": (
        'connect(socket.AF_UNIX, link("/run/xs/snapshot", "s1"))'
    ),
    "systemd's socket: any unit": 'connect(socket.AF_UNIX, "/run/systemd/private")',
    "sshd on loopback: another login": 'connect(socket.AF_INET, ("127.0.0.1", 22))',
    "the front on loopback: everybody's page": 'connect(socket.AF_INET, ("127.0.0.1", 80))',
    "the server's own address: registration": "connect(socket.AF_INET, (ADDRESS, 8080))",
    "another host: the school's network": 'connect(socket.AF_INET, ("192.0.2.1", 80))',
    "IPv6 loopback: a filter that knows IPv4 only": 'connect(socket.AF_INET6, ("::1", 22))',
    "DNS: words out of the school": "connect(socket.AF_INET, (ADDRESS, 53), socket.SOCK_DGRAM)",
    "broadcast: a service of hers": 'connect(socket.AF_INET, ("255.255.255.255", 67), socket.SOCK_DGRAM)',
    "ping: whether a host is there": "connect(socket.AF_INET, ('127.0.0.1', 1), socket.SOCK_RAW)",
    "a packet socket: others' traffic": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)",
    "vsock: the machine below the machine": "connect(socket.AF_VSOCK, (2, 22))",
    "signal to the gate: a session without its end": "os.kill(GATE, 9)",
    "signal to every process: the server's end": "[os.kill(n, 0) for n in range(30, 4000)]",
    "ptrace of the gate: its rights": "call(101, 16, GATE, 0, 0)",
    "memory of the gate: its rights": "call(310, GATE, 0, 0, 0, 0, 0)",
    "a higher priority: the server's work behind hers": "os.nice(-5)",
    "real time: the server's work never": "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
    "first at the disk: the server's work never": "call(251, 1, 0, (1 << 13) | 0)",
    "more processes: a fork bomb": "resource.setrlimit(resource.RLIMIT_NPROC, (4000, 4000))",
    "more memory: a memory bomb": "resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))",
    "larger files: a disk filled at once": "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 50, 1 << 50))",
    "a core file: the server's memory": "resource.setrlimit(resource.RLIMIT_CORE, (1, 1))",
    "locked memory: memory that is never given back": "c('mlockall', 3) or bytearray(1 << 28)",
    "the clock: snapshots that rotate away": "time.clock_settime(time.CLOCK_REALTIME, 0)",
    "the host's name: logs that mislead": 'socket.sethostname("eve")',
    "reboot: nobody served": "call(169, 0xfee1dead, 672274793, 0x01234567, 0)",
    "a kernel module: everything": "call(175, b'', 0, b'')",
    "another kernel: everything": "call(246, 0, 0, 0, 0)",
    "swap: the disk as memory": "call(167, OWN.encode(), 0)",
    "a program in the kernel: everything": "call(321, 5, bytes(128), 128)",
    "counters of the processor: others' keys": "call(298, bytes(120), -1, 0, -1, 0)",
    "the kernel's log: where things lie in it": "call(103, 3, bytes(64), 64)",
    "a terminal to type into: the technician's shell": "fcntl.ioctl(0, 0x5412, b'x')",
    "a watch on everything: who reads what": "call(300, 0, 0)",
    "accounting: a file that root writes": "call(163, OWN.encode())",
}

# What no other wall stops, because it is done to her own directory or to nobody: only the filter of system calls does.
FILTERED = {
    "a subvolume: documents hidden from her next snapshot": (
        "fcntl.ioctl(os.open(OWN, os.O_RDONLY), 0x5000940E, bytearray(struct.pack('q', 0) + b'sub'.ljust(4088, b'\\0')))"
    ),
    "incoming read-only: a tree that is never whole again": (
        "fcntl.ioctl(os.open(OWN, os.O_RDONLY), 0x4008941A, bytearray(struct.pack('Q', 2)))"
    ),
    "blocks shared between files: more than the disk has": (
        "fcntl.ioctl(os.open(own('y'), os.O_RDWR), 0x40049409, os.open(own('x'), os.O_RDONLY))"
    ),
    "an access list: a document that its own readers cannot read": (
        "os.setxattr(own('x'), 'system.posix_acl_access', struct.pack('<IHHiHHiHHi', 2, 1, 6, -1, 4, 4, -1, 32, 4, -1))"
    ),
    "an attribute: what nobody looks at": "os.setxattr(own('x'), 'user.x', b'x')",
    "the tree's lock let go: a snapshot of half a run": (
        "[fcntl.flock(n, fcntl.LOCK_UN) for n in range(3, 64) if attempt(lambda: os.fstat(n))[:4] == 'done']"
    ),
    "a pipe among documents: a reader that waits for ever": "os.mkfifo(OWN + '/pipe')",
    "a socket of any kind: the kernel's protocols": "socket.socket(socket.AF_UNIX)",
    "a program in memory: where noexec does not count": "os.memfd_create('x')",
    "io_uring: system calls past all filters": "call(425, 1, bytes(120))",
    "keys in the kernel: memory that outlives her": "call(248, b'user', b'x', b'x', 1, -2)",
    "a watch on files: when others read": "call(253)",
    "messages between processes: memory that nobody counts": "call(68, 0, 0o1600)",
    "shared memory: memory that nobody counts": "call(29, 0, 4096, 0o1600)",
    "userfaultfd: races in the kernel, won": "call(323, 0)",
}

LISTING = """
def what(number):
    mode = os.fstat(number).st_mode
    for name in ("REG", "DIR", "FIFO", "SOCK", "CHR", "BLK"):
        if getattr(stat, f"S_IS{name}")(mode):
            return name
def descriptors():
    found = {}
    for number in range(1024):
        try:
            found[number] = what(number)
        except OSError:
            continue
    return found
def mounts():
    flags = {1: "ro", 2: "nosuid", 4: "nodev", 8: "noexec"}
    return {path: [word for bit, word in flags.items() if os.statvfs(path).f_flag & bit] for path in ("/", "/usr", OWN)}
def processes():
    found = []
    for number in range(1, 5000):
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            continue
        except PermissionError:
            pass
        found.append(number)
    return found
def families():
    found = []
    for name in sorted(n for n in dir(socket) if n.startswith("AF_")):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET, socket.SOCK_RAW):
            try:
                socket.socket(getattr(socket, name), kind).close()
            except OSError:
                continue
            found.append(name)
            break
    return found
def capabilities(number):
    header, data = (ctypes.c_uint32 * 2)(0x20080522, number), (ctypes.c_uint32 * 6)()
    libc.capget(header, data)
    return list(data)
NAMESPACES = {"user": 0x10000000, "mount": 0x20000, "network": 0x40000000, "pid": 0x20000000, "ipc": 0x08000000,
              "uts": 0x04000000, "cgroup": 0x02000000, "time": 0x80}
LIMITS = [name for name in dir(resource) if name.startswith("RLIMIT_")]
limits = {name[7:]: resource.getrlimit(getattr(resource, name))[1] for name in LIMITS}
print(json.dumps({
    "root": sorted(os.listdir("/")),
    "what is mounted": mounts(),
    "processes": processes(), "own pid": os.getpid(), "session": os.getsid(0), "parent": os.getppid(),
    "uid, gid, groups": [os.getuid(), os.getgid(), os.getgroups()],
    "environment": dict(os.environ), "working directory": os.getcwd(), "host name": socket.gethostname(),
    "interfaces": [name for _, name in socket.if_nameindex()],
    "kinds of sockets": families(),
    "descriptors": descriptors(),
    "capabilities": capabilities(0), "capabilities of process 1": capabilities(1),
    "namespaces it may make": [n for n, bit in NAMESPACES.items() if attempt(lambda: c("unshare", bit))[:4] == "done"],
    "no new privileges": libc.prctl(39, 0, 0, 0, 0), "system call filter": libc.prctl(21, 0, 0, 0, 0),
    "limits": limits, "priority": os.nice(0),
}))
"""
