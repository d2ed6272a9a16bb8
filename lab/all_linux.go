package lab

// All lists the scenarios.
func All() []Scenario {
	return []Scenario{
		anonTouched, madvFree, thpSparse, anonSwapped, goHeap,
		fileOnce, fileTwice, fileMapped, fileDeleted, fileDirty, fileForeign, imageService,
		tmpfsFile, memfd, sysvShm, sharedAnon,
		unixQueue, pipeFull, tcpUnread,
		pageTables, threads, bpfMap, bpfElsewhere,
		tempNames, missingNames, manyInodes,
		leak, plateau, sawtooth, churn, idleHeld, hotReads, cacheRefill, cacheFilling, restart,
		tmpfsLeft, swapKept, oomGroup,
		dyingChildren, parentFull, highThrottled, oomVictim, oomParent, oomNobody,
	}
}
