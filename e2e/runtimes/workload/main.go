// Workload is what runs in the containers of these tests, and their pause.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

var held []byte

func main() {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM, syscall.SIGINT)
	if filepath.Base(os.Args[0]) != "pause" {
		anon := flag.Int("anon", 0, "MiB of heap, all of it written")
		file := flag.String("file", "", "a file to write")
		bytes := flag.Int("bytes", 0, "MiB of it")
		flag.Parse()
		held = make([]byte, *anon<<20)
		for i := range held {
			held[i] = byte(i)
		}
		if *file != "" {
			if err := os.WriteFile(*file, make([]byte, *bytes<<20), 0o600); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
		}
		fmt.Println("ready")
	}
	<-term
}
