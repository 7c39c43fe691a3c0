"""What all tests stand on."""

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in background jobs of shells; programs under test inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
