package report

// Finding is a cause, or a danger, with what it rests on.
type Finding struct {
	Code       string     `json:"code"`                                                                   // memwhy codes CODE explains it
	Severity   string     `json:"severity" jsonschema:"enum=info,enum=notice,enum=warning,enum=critical"` // on a healthy target nothing is above info
	Confidence string     `json:"confidence" jsonschema:"enum=low,enum=medium,enum=high"`                 // high: the evidence excludes the rivals
	Bytes      *int64     `json:"bytes" jsonschema:"nullable"`                                            // that it explains; null when no file tells
	Title      string     `json:"title"`                                                                  // with live values
	PartOf     string     `json:"partOf,omitempty"`                                                       // the code of the finding that this is a sign, a condition or a consequence of
	Evidence   []Evidence `json:"evidence"`                                                               // to read again
	Remedies   []Remedy   `json:"remedies"`                                                               // what to do next comes first
}

// Remedy is something to do about a finding.
type Remedy struct {
	Kind        string `json:"kind" jsonschema:"enum=look,enum=reclaim,enum=limit,enum=app,enum=configure,enum=upgrade,enum=reboot"` // look changes nothing, nor does reclaim before it is told to
	Command     string `json:"command"`                                                                                              // to type, or what to do in words
	ExpectBytes *int64 `json:"expectBytes,omitempty"`                                                                                // that it gives back; absent when it is not about an amount
	Cost        string `json:"cost"`                                                                                                 // what it takes or risks
}

// Suspicion is one of the five that everybody has first, answered.
type Suspicion struct {
	ID      string `json:"id" jsonschema:"enum=churn,enum=leak,enum=allocator,enum=metric,enum=mechanism"`
	Answer  string `json:"answer" jsonschema:"enum=confirmed,enum=likely,enum=unlikely,enum=ruled-out,enum=cannot-tell"`
	Because string `json:"because"`
}
