package report

// DoctorSchema is the name of the message of what may be seen here.
const DoctorSchema = "memwhy.doctor/v1"

// Doctor is what this process may see of the node.
type Doctor struct {
	Schema  string         `json:"schema" jsonschema:"enum=memwhy.doctor/v1"`
	Lang    string         `json:"lang,omitempty"` // of sentences; absent: en
	Summary string         `json:"summary"`        // one sentence
	Kernel  string         `json:"kernel"`         // release; empty when unknown
	Cgroups string         `json:"cgroups" jsonschema:"enum=v1,enum=v2,enum=hybrid,enum=none"`
	User    DoctorUser     `json:"user"`
	Sources []DoctorSource `json:"sources"`
	Facts   []DoctorFact   `json:"facts"`
}

// DoctorUser is who looks.
type DoctorUser struct {
	UID          *int64   `json:"uid" jsonschema:"nullable"` // effective; null when unknown
	Capabilities []string `json:"capabilities"`              // of those that a source may need, what is in effect
	Lacks        []string `json:"lacks"`                     // and what is not
}

// DoctorSource is a source that was tried.
type DoctorSource struct {
	ID    string   `json:"id"`
	State string   `json:"state" jsonschema:"enum=ok,enum=refused,enum=absent,enum=failed"`
	Why   string   `json:"why"`   // it is not ok; or, when it is, what is short of all
	Shows string   `json:"shows"` // what it tells, or would tell
	How   []string `json:"how"`   // ways to have it, the shortest first; empty when it is ok, or when nothing helps
}

// DoctorFact is a property of where this process runs.
type DoctorFact struct {
	ID    string `json:"id"`
	Value string `json:"value"`
	Means string `json:"means"` // for what is seen; empty when it takes nothing away
}
