"""Judges the system calls of a run, as strace -ff -y writes them. See .ci/trace."""

import argparse
import collections
import os
import pathlib
import re
import sys

arguments = argparse.ArgumentParser()
for option in ["root", "bucket", "state", "spool", "program"]:
    arguments.add_argument(f"--{option}", action="append", default=[])
arguments.add_argument("--only-tree", action="store_true", help="other places do not matter")
arguments.add_argument("traces", nargs="+")
options = arguments.parse_args()

# Where the directory and the name stand among the arguments; without a directory, the name alone.
AT = {
    "openat": [(0, 1)], "openat2": [(0, 1)], "mkdirat": [(0, 1)], "unlinkat": [(0, 1)], "readlinkat": [(0, 1)],
    "newfstatat": [(0, 1)], "statx": [(0, 1)], "fchmodat": [(0, 1)], "fchmodat2": [(0, 1)], "fchownat": [(0, 1)],
    "utimensat": [(0, 1)], "faccessat": [(0, 1)], "faccessat2": [(0, 1)], "mknodat": [(0, 1)], "futimesat": [(0, 1)],
    "renameat": [(0, 1), (2, 3)], "renameat2": [(0, 1), (2, 3)], "linkat": [(0, 1), (2, 3)], "symlinkat": [(1, 2)],
    "name_to_handle_at": [(0, 1)], "execveat": [(0, 1)],
}
BY_PATH = {
    "open": [0], "creat": [0], "stat": [0], "lstat": [0], "access": [0], "mkdir": [0], "rmdir": [0], "unlink": [0],
    "rename": [0, 1], "link": [0, 1], "symlink": [1], "readlink": [0], "chmod": [0], "chown": [0], "lchown": [0],
    "truncate": [0], "utime": [0], "utimes": [0], "setxattr": [0], "lsetxattr": [0], "getxattr": [0], "lgetxattr": [0],
    "listxattr": [0], "llistxattr": [0], "removexattr": [0], "lremovexattr": [0], "chdir": [0], "statfs": [0],
    "mknod": [0], "execve": [0], "chroot": [0], "inotify_add_watch": [1], "uselib": [0], "acct": [0], "swapon": [0],
    "quotactl": [1], "fanotify_mark": [4], "pivot_root": [0, 1], "umount2": [0], "mount": [1],
}
NO_PATH = {"getcwd", "fchdir"}
SPECIAL = {"mknod", "mknodat"}
CHANGES_INODE = {
    "chmod", "fchmodat", "fchmodat2", "chown", "lchown", "truncate", "utime", "utimes", "futimesat", "setxattr", "lsetxattr",
    "removexattr", "lremovexattr",
}
# An open for more than to read.
WRITE = "write"
READS = {"open", "openat", "stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2", "readlink", "readlinkat"}

# What is legitimately touched outside the tree, by whom, and why.
program = os.path.realpath(options.program[0]) if options.program else ""
below = lambda *places: "|".join(re.escape(os.path.realpath(place)) + "(/.*)?" for place in places) or "(?!)"
ALLOWED = [
    # The loader and the C library: read, before any of our code runs.
    (r"/etc/ld\.so\.(preload|cache)|/(usr/)?lib(64)?(/.*)?|/etc/(localtime|nsswitch\.conf|passwd)", READS),
    (re.escape(program), {"execve", "readlink", "readlinkat"}),
    # Rust's runtime: how many processors there are, its own name, the limits of its control group.
    (r"/proc/self/(exe|cgroup|maps|mountinfo)|/proc/(meminfo|stat|cpuinfo)|/sys/fs/cgroup(/.*)?|/sys/devices/system/cpu(/.*)?", READS),
    # Who has a file open (src/tree/local/users.rs): processes, their threads, their descriptors and mappings are listed and
    # read; an open file is looked at through its link, never opened.
    (r"/proc|/proc/\d+/(task|status|comm|cgroup)|/proc/\d+/task/\d+/(fd|maps|stat)", READS),
    (r"/proc/\d+/task/\d+/fd/\d+", {"statx", "newfstatat", "readlink", "readlinkat"}),
    # The state: a directory of the operator's, by the path that he gave. FileState refuses links and others' files.
    (below(*options.state), READS | {WRITE, "unlink", "unlinkat", "rename", "renameat", "renameat2", "link", "linkat"}),
    # What an import puts off: a file without a name in the directory for such.
    (below(*options.spool), {"openat", WRITE}),
    (r"/dev/(null|tty)", READS | {WRITE}),
    (r"/dev/urandom|/etc/terminfo(/.*)?|/usr/share/terminfo(/.*)?|.*/\.terminfo(/.*)?", READS),
    # The example is told where its tree is, and makes it if it is not there. It is opened from / on, name by name, and held.
    (below(*options.root).replace("(/.*)?", ""), READS | {"mkdir", "mkdirat"}),
    # A bucket in a directory belongs to who opened it, by the path that he gave; what others could write to is refused when
    # it is opened. Inodes are made and removed, and never changed by a path.
    (below(*options.bucket), READS | {WRITE, "mkdir", "mkdirat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir"}),
]
# The directories above those: paths that the operator gave are resolved, and what was made in them is brought to the disk.
above = {str(above) for place in sum((options.root, options.bucket, options.state, options.spool), [])
         for above in pathlib.Path(os.path.realpath(place)).parents}
ALLOWED.append(("|".join(map(re.escape, sorted(above))) or "(?!)", READS))
ALLOWED = [(re.compile(f"(?:{pattern})"), calls) for pattern, calls in ALLOWED]
roots = [os.path.realpath(root) for root in options.root]
way = {str(above) for root in roots for above in pathlib.Path(root).parents}

problems = []
seen = collections.Counter()
in_tree = 0


def split(text):
    """The arguments of a call."""
    found, depth, quoted, start, at = [], 0, False, 0, 0
    while at < len(text):
        byte = text[at]
        if quoted:
            if byte == "\\":
                at += 1
            elif byte == '"':
                quoted = False
        elif byte == '"':
            quoted = True
        elif byte in "{[(":
            depth += 1
        elif byte in "}])":
            depth -= 1
        elif byte == "<" and re.match(r"(\d+|AT_FDCWD)$", text[start:at].strip()):
            # A descriptor's path, in which strace writes `>` as an escape.
            at = text.index(">", at)
        elif byte == "," and depth == 0:
            found.append(text[start:at].strip())
            start = at + 1
        at += 1
    return found + [text[start:].strip()]


def unquoted(text):
    """The bytes that strace has written in quotes; None for NULL."""
    if not text.startswith('"'):
        return None
    if text.endswith("..."):
        raise SystemExit(f"strace has cut a name: {text[:80]}")
    inner = text[1:-1]
    escapes = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "f": "\f", '"': '"', "\\": "\\"}
    return re.sub(r"\\([0-7]{1,3}|x[0-9a-f]{2}|.)", lambda m: escapes[m[1]] if m[1] in escapes else chr(int(m[1].lstrip("x"), 16 if m[1][0] == "x" else 8)), inner)


def place_of(text):
    """The path of a directory descriptor."""
    match = re.match(r"(\d+|AT_FDCWD)<(.*)>(\(deleted\))?$", text, re.S)
    return (match[1], unquoted(f'"{match[2]}"').removesuffix(" (deleted)")) if match else (text, None)


def below_root(path):
    return any(path == root or path.startswith(root + "/") for root in roots)


def judge(call, args, directory, name, line):
    """Says what is wrong with one path of one call."""
    global in_tree
    wrong = lambda rule: problems.append(f"{rule}: {line}")
    text = " ".join(args)
    at, base = directory if directory else ("AT_FDCWD", None)
    if name is None or name == "":
        # The descriptor itself: futimens, and statx with an empty path.
        if base is not None and below_root(base) and at != "AT_FDCWD":
            in_tree += 1
            if call in CHANGES_INODE or (name == "" and "AT_EMPTY_PATH" not in text):
                wrong("changes an inode by its path")
        return
    if name.startswith("/"):
        full = os.path.normpath(name)
    elif base is None:
        full = os.path.normpath(os.path.join(working[0], name))
    else:
        full = os.path.normpath(os.path.join(base, name))
    if call in SPECIAL:
        return wrong("makes a special file")
    held = at != "AT_FDCWD" and not name.startswith("/")
    if held and base is not None and below_root(base):
        in_tree += 1
        if "/" in name or name == "..":
            return wrong("a name with a slash or of the directory around")
        if call in CHANGES_INODE:
            return wrong("changes an inode by its path")
        if call in ("openat", "openat2"):
            if "O_NOFOLLOW" not in text and name != ".":
                # Made, and not there before: nothing is followed.
                wrong("creates without being exclusive" if "O_CREAT" in text and "O_EXCL" not in text else "follows a link")
            elif "O_CREAT" in text and "O_EXCL" not in text:
                wrong("creates without being exclusive")
            elif "O_CLOEXEC" not in text:
                wrong("a descriptor that a child would inherit")
        elif call == "fchownat":
            if "AT_SYMLINK_NOFOLLOW" not in text:
                wrong("changes an inode by its path")
        elif call in ("newfstatat", "statx", "utimensat"):
            if "AT_SYMLINK_NOFOLLOW" not in text:
                wrong("follows a link")
        elif call in ("execveat", "faccessat", "faccessat2", "linkat", "name_to_handle_at"):
            wrong("follows a link")
        return
    if re.match(r"/proc/(self|thread-self|\d+)(/task/\d+)?/(fd/\d+|root|cwd)(/|$)", full) and call not in ("statx", "newfstatat", "readlink", "readlinkat"):
        return wrong("opens a descriptor of /proc anew")
    if call in ("open", "openat", "openat2") and (full in roots or held and base in way and full != "/"):
        # Links on the way are read, and gone along if they are to be trusted; see src/tree/local/root.rs.
        if not held or "/" in name:
            return wrong("opens a root by its path")
        if "O_NOFOLLOW" not in text and name != ".":
            return wrong("follows a link on the way to a root")
    if below_root(full) and full not in roots:
        in_tree += 1
        return wrong("changes an inode by its path" if call in CHANGES_INODE | {"fchownat"} else "is not relative to a held descriptor")
    if call in CHANGES_INODE | {"fchownat", "symlink", "symlinkat"} and not options.only_tree:
        return wrong("changes an inode by its path")
    what = WRITE if "open" in call and re.search("O_(WRONLY|RDWR|CREAT|TRUNC|TMPFILE)", text) else call
    if not options.only_tree and not any(pattern.fullmatch(full) and what in calls for pattern, calls in ALLOWED):
        wrong("no place that is allowed")


for trace in options.traces:
    working = [os.getcwd()]
    for line in open(trace, encoding="utf-8", errors="surrogateescape"):
        line = line.rstrip("\n")
        match = re.match(r"(\w+)\((.*)\)\s+= (-?\d+|\?)", line, re.S)
        if not match:
            if re.match(r"(\+\+\+|---)", line):
                continue
            raise SystemExit(f"not understood: {line}")
        call, args = match[1], split(match[2])
        seen[call] += 1
        if call in AT:
            for directory, name in AT[call]:
                judge(call, args, place_of(args[directory]), unquoted(args[name]), line)
        elif call in BY_PATH:
            for name in BY_PATH[call]:
                judge(call, args, None, unquoted(args[name]), line)
            if call == "chdir" and match[3] == "0":
                working[0] = os.path.join(working[0], unquoted(args[0]))
        elif call not in NO_PATH:
            problems.append(f"a call that takes a path and that no rule is about: {line}")

for problem in problems[:40]:
    print(problem, file=sys.stderr)
if problems:
    sys.exit(f"{len(problems)} system calls of {sum(seen.values())} break the rules")
print(", ".join(f"{call} {count}" for call, count in sorted(seen.items())))
if in_tree == 0:
    sys.exit("no call was about the tree: nothing was checked")
count = sum(seen.values())
print(f"syscalls checked: {count}")
print(f"syscalls checked in the tree: {in_tree}")
figures = os.environ.get("POSIX_S3_FIGURES")
if figures and not options.only_tree:
    os.makedirs(figures, exist_ok=True)
    for name, number in [("syscalls checked", count), ("syscalls checked in the tree", in_tree)]:
        with open(os.path.join(figures, name.replace(" ", "-")), "w") as file:
            print(f"{name}: {number}", file=file)
