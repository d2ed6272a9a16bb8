package report

// Stack is memory and where it is, the outermost first: node, pod and container or
// the cgroups, account, what the file is to the container, directories, file. It
// is for profiles and flame graphs; frames are any bytes.
type Stack struct {
	Frames      []string
	File        string // the last frame with its directories
	Bytes       int64
	Reclaimable int64 // on lists that reclaim looks at; of shared memory only with swap
	Dirty       int64 // has to be written first
}
