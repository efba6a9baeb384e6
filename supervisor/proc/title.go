package proc

import (
	"bytes"
	"strconv"
)

// maxTitle bounds what is read of a title; what follows is left out.
const maxTitle = 4096

// Title is what ps shows as pid's command line: its arguments with spaces between
// them, or what the program has written over them (proc_pid_cmdline(5)). It is
// empty for a zombie. Reading it waits for whoever holds the process's memory map,
// so it is not for a loop that must not wait.
func Title(pid int) (string, error) {
	var buf [maxTitle]byte
	data, err := readSmall("/proc/"+strconv.Itoa(pid)+"/cmdline", buf[:])
	if err != nil {
		return "", err
	}
	data = bytes.TrimRight(data, "\x00 ")
	return string(bytes.ReplaceAll(data, []byte{0}, []byte{' '})), nil
}
