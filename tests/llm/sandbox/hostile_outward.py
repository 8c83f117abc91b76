"""Programs that reach for other processes, files and the network."""

from .hostile_case import cases

PROCESSES = cases(
    "error",
    fork="import os\nos.fork()",
    forkpty="import os\nos.forkpty()",
    thread="import threading\nthreading.Thread(target=print).start()",
    thread_without_a_module="import _thread\n_thread.start_new_thread(print, ())",
    thread_pool="""
from concurrent.futures import ThreadPoolExecutor
ThreadPoolExecutor(4).submit(print).result()
""",
    process_pool="import multiprocessing\nmultiprocessing.Pool(2).map(abs, [1])",
    spawned_process="""
import multiprocessing
multiprocessing.get_context('spawn').Process(target=print).start()
""",
    subprocess="import subprocess\nsubprocess.run(['touch', loot])",
    subprocess_with_a_shell="import subprocess\nsubprocess.run(f'touch {loot}', shell=True)",
    posix_spawn="import os\nos.posix_spawn('/bin/touch', ['touch', loot], {})",
    exec_of_another_program="import os\nos.execv('/bin/touch', ['touch', loot])",
    exec_of_the_interpreter="""
import os, sys
os.execv(sys.executable, [sys.executable, '-c', f'open({loot!r}, "w")'])
""",
    signal_to_the_host="import os, signal\nos.kill(host, signal.SIGKILL)",
    signal_to_the_zygote="import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
    signal_to_everybody="import os, signal\nos.kill(-1, signal.SIGCONT)",
    signal_to_the_group="import os, signal\nos.killpg(0, signal.SIGKILL)",
    signal_through_a_pidfd="import os, signal\nsignal.pidfd_send_signal(os.pidfd_open(host), 9)",
    session_of_its_own="import os\nos.setsid()",
    niceness="import os\nos.nice(-20)",
    other_cpus="import os\nos.sched_setaffinity(0, range(2))",
    become_root="import os\nos.setuid(0)",
    shell_command="""
import os
if os.system(f'touch {loot}') != 0: raise OSError('no shell')
""",
)

FILES = cases(
    "error",
    read_the_passwords="open('/etc/passwd').read()",
    read_its_own_environment="open('/proc/self/environ').read()",
    read_the_environment_of_the_host="open(f'/proc/{host}/environ').read()",
    read_the_memory_of_the_host="open(f'/proc/{host}/mem', 'rb').read(1)",
    read_the_memory_of_the_zygote="import os\nopen(f'/proc/{os.getppid()}/mem', 'rb').read(1)",
    read_its_own_memory="open('/proc/self/mem', 'rb').read(1)",
    read_the_canary="open(canary).read()",
    read_its_own_module="import inspect\nopen(inspect.__file__).read()",
    write_a_file="open(loot, 'w').write('here')",
    append_to_the_canary="open(canary, 'a').write('here')",
    write_with_pathlib="import pathlib\npathlib.Path(loot).write_text('here')",
    write_with_numpy="np.save(loot, cost)",
    write_through_c="""
import ctypes
if not ctypes.CDLL(None).fopen(loot.encode(), b'w'): raise OSError('no file')
""",
    memory_map_a_file="np.memmap(loot, mode='w+', shape=10)",
    temporary_file="import tempfile\ntempfile.TemporaryFile()",
    shared_memory="""
from multiprocessing import shared_memory
shared_memory.SharedMemory('loot', create=True, size=100)
""",
    memory_file="import os\nos.memfd_create('loot')",
    make_a_directory="import os\nos.mkdir(loot)",
    make_a_fifo="import os\nos.mkfifo(loot)",
    make_a_device="import os, stat\nos.mknod(loot, stat.S_IFCHR | 0o666, os.makedev(1, 3))",
    make_a_symbolic_link="import os\nos.symlink('/etc', loot)",
    make_a_hard_link="import os\nos.link(canary, loot)",
    remove_the_canary="import os\nos.remove(canary)",
    rename_the_canary="import os\nos.rename(canary, loot)",
    truncate_the_canary="import os\nos.truncate(canary, 0)",
    open_the_canary_to_all="import os\nos.chmod(canary, 0o777)",
    touch_the_canary="import os\nos.utime(canary, (0, 0))",
    remove_the_tree="import os, shutil\nshutil.rmtree(os.path.dirname(canary))",
    list_the_root="import os\nos.listdir('/')",
    scan_the_processes="import os\nlist(os.scandir('/proc'))",
    size_of_a_file="import os\nos.stat(canary)",
    name_of_the_interpreter="import os\nos.readlink('/proc/self/exe')",
    working_directory="import os\nos.getcwd()",
    change_directory="import os\nos.chdir('/tmp')",
    open_a_terminal="import os\nos.openpty()",
    name_of_the_machine="import os\nos.uname()",
    import_from_the_disk="import sqlite3",
    import_from_a_path="import sys\nsys.path.insert(0, '/tmp')\nimport loot",
    import_of_jax="import jax",
) + cases(
    "ok",
    action={0: 0, 1: 0},
    search_for_files="""
import glob, os
action = {0: len(glob.glob('/*')), 1: int(os.path.exists('/etc'))}
""",
    search_the_environment="""
import ctypes, os
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
action = {0: len(os.environ), 1: int(libc.getenv(b'LSA_TEST_SECRET') is not None)}
""",
)

NETWORK = cases(
    "error",
    tcp_to_loopback="import socket\nsocket.create_connection(('127.0.0.1', port), 1)",
    udp_to_loopback="""
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'loot', ('127.0.0.1', port))
""",
    dns_query_to_loopback="""
import socket
query = bytes.fromhex('000101000001000000000000046c6f6f740000010001')
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(query, ('127.0.0.1', port))
""",
    dns_lookup="import socket\nsocket.gethostbyname('localhost')",
    http_to_loopback="""
import urllib.request
urllib.request.urlopen(f'http://127.0.0.1:{port}/', timeout=1)
""",
    ipv6_socket="import socket\nsocket.socket(socket.AF_INET6)",
    raw_socket="import socket\nsocket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    packet_socket="import socket\nsocket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    netlink_socket="import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    kernel_crypto_socket="import socket\nsocket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)",
    unix_socket="import socket\nsocket.socket(socket.AF_UNIX).connect('\\0loot')",
    pair_of_sockets="import socket\nsocket.socketpair()",
    server="import socket\nsocket.create_server(('127.0.0.1', 0))",
    event_loop="import asyncio\nasyncio.new_event_loop()",
)
