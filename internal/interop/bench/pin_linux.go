package main

import (
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// processors divides those there are between a client and its servers; nil leaves it to the system.
func processors() (client, server []int) {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil || set.Count() < 2 {
		return nil, nil
	}
	for cpu := range len(set) * 64 {
		switch {
		case !set.IsSet(cpu):
		case client == nil:
			client = []int{cpu}
		default:
			server = append(server, cpu)
		}
	}
	return client, server
}

// startOn starts a process on the processors. It inherits them from the thread that starts it.
func startOn(cpus []int, cmd *exec.Cmd) error {
	if cpus == nil {
		return cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return err
	}
	err := cmd.Start()
	if e := unix.SchedSetaffinity(0, &before); err == nil {
		err = e
	}
	return err
}
