# SPDX-License-Identifier: GPL-3.0-or-later
"""The system calls that a jailed process has left, as a BPF program for bubblewrap; written when the package is built.

Namespaces hide what there is; this hides most of the kernel itself, in which a hole needs neither capability nor
namespace. Only python3-seccomp knows the numbers of each architecture, and the server does not need it at run time.
"""

from __future__ import annotations

import errno
import sys
import termios
from pathlib import Path
from typing import Any

_ARCHITECTURES = ("X86_64", "AARCH64", "X86", "ARM")  # one program for all of them: the package is for any machine

# What rsync does, as strace shows it on Debian 12 and 13, with the older and newer names of the same calls.
_FILES = """
    read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 open openat openat2 creat close
    close_range stat stat64 lstat lstat64 fstat fstat64 newfstatat fstatat64 statx statfs statfs64 fstatfs fstatfs64
    access faccessat faccessat2 lseek _llseek getdents getdents64 readlink readlinkat mkdir mkdirat rmdir unlink
    unlinkat rename renameat renameat2 symlink symlinkat link linkat chmod fchmod fchmodat fchmodat2 chown chown32
    fchown fchown32 lchown lchown32 fchownat utime utimes futimesat utimensat utimensat_time64 truncate truncate64
    ftruncate ftruncate64 fallocate fsync fdatasync sync_file_range fadvise64 fadvise64_64 arm_fadvise64_64 getcwd
    chdir fchdir umask
"""
_DESCRIPTORS = """
    dup dup2 dup3 pipe pipe2 poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64 fcntl fcntl64
    socketpair
"""
_MEMORY = "mmap mmap2 mprotect munmap mremap madvise brk"
_PROCESSES = """
    fork vfork execve wait4 waitpid waitid exit exit_group kill tgkill getpid getppid gettid getpgrp getpgid getsid
    setsid set_tid_address set_robust_list rseq futex futex_time64 sched_yield sched_getaffinity arch_prctl set_tls
    set_thread_area restart_syscall rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend
    rt_sigtimedwait sigreturn sigaltstack alarm setitimer getitimer
"""
_FACTS = """
    getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getgroups getgroups32 getrlimit ugetrlimit
    prlimit64 getrusage sysinfo uname getrandom time times gettimeofday clock_gettime clock_gettime64 clock_getres
    clock_getres_time64 nanosleep clock_nanosleep clock_nanosleep_time64
"""
ALLOWED = f"{_FILES} {_DESCRIPTORS} {_MEMORY} {_PROCESSES} {_FACTS}".split()
# Of ioctl only the questions that the C library and rsync ask. What btrfs does by ioctl stays out: subvolumes in which
# documents hide from their next snapshot, read-only ones, blocks shared with other files.
IOCTLS = (termios.TCGETS, termios.TIOCGWINSZ, termios.FIONREAD, termios.FIONBIO, termios.FIOCLEX)
# clone() makes processes, and namespaces where one of these bits is set (linux/sched.h, CLONE_NEW…).
_NAMESPACES = 0x7E02_0080
# What is missing, and what it would gain (tests/schoolserver/test_syscall_filter.py tries each of them).
REFUSED = {
    "socket": "a way to abstract sockets, to other machines (AF_VSOCK), and into a hundred protocols of the kernel",
    "setxattr": "access lists and attributes that other parts of the server act on",
    "flock": "the tree's lock, which the session inherits, let go before its time",
    "mknod": "pipes and devices, on which a later reader hangs",
    "ptrace": "the memory of the session's other processes",
    "unshare": "namespaces, in which the kernel gives capabilities away",
    "mount": "other files in place of those that the jail shows",
    "setpriority": "more of the processor than the server's own work has",
    "ioprio_set": "more of the disk than the server's own work has",
    "io_uring_setup": "all of the above once more, past this filter",
    "bpf": "programs in the kernel",
    "keyctl": "the kernel's keys, which no namespace keeps apart",
    "memfd_create": "programs that stand in no file system, where noexec does not count",
}


def write(file: Path) -> None:
    """Write the BPF program to `file`, as `bwrap --seccomp` reads it; raise OSError, ImportError."""
    import seccomp

    # ENOSYS rather than the end of the process: the C library then takes an older call that does the same.
    program: Any = seccomp.SyscallFilter(seccomp.ERRNO(errno.ENOSYS))
    program.remove_arch(seccomp.Arch.NATIVE)
    for name in _ARCHITECTURES:
        program.add_arch(getattr(seccomp.Arch, name))
    for name in ALLOWED:
        program.add_rule(seccomp.ALLOW, name)
    program.add_rule(seccomp.ALLOW, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, _NAMESPACES, 0))
    for request in IOCTLS:
        program.add_rule(seccomp.ALLOW, "ioctl", seccomp.Arg(1, seccomp.EQ, request))
    with file.open("wb") as out:
        program.export_bpf(out)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
