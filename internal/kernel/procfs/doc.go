// Package procfs owns the formats of the node's own files under /proc and /sys
// and of the files of one process, of os-release, and of the slab table that
// cgroups have too.
//
// It must not know how a file is opened (that is package kernel), what the
// numbers mean, or the cgroup file systems (package cgroupfs).
//
// The Parse functions are total: any bytes give a value or an error. Amounts
// come out in bytes, names as the raw bytes that they are. A table with a row
// that is none is an error that names the line: a table must not be silently
// shorter. They mirror these functions of Linux:
//
//   - ParseMeminfo: fs/proc/meminfo.c meminfo_proc_show, mm/hugetlb.c
//     hugetlb_report_meminfo
//   - ParseVmstat: mm/vmstat.c vmstat_show
//   - ParseZoneinfo: mm/vmstat.c zoneinfo_show_print
//   - ParseBuddyinfo: mm/vmstat.c frag_show_print
//   - ParseSlabinfo: mm/slab_common.c cache_show, print_slabinfo_header,
//     memcg_slab_show (3.10: mem_cgroup_slabinfo_read in mm/memcontrol.c)
//   - ParseSwaps: mm/swapfile.c swap_show
//   - ParseCgroups: kernel/cgroup/cgroup-v1.c proc_cgroupstats_show
//   - ParseMountinfo: fs/proc_namespace.c show_mountinfo
//   - ParseStatus: fs/proc/array.c proc_pid_status, proc_task_name;
//     fs/proc/task_mmu.c task_mem
//   - ParseCmdline: fs/proc/base.c get_mm_cmdline
//   - ParseSmaps, ParseSmapsRollup, CountMaps: fs/proc/task_mmu.c show_smap,
//     show_map_vma, show_smaps_rollup
//   - ParseVersion: fs/proc/version.c version_proc_show
//   - ParseOnline: drivers/base/cpu.c show_cpus_attr (lib/vsprintf.c
//     bitmap_list_string)
//   - ParseMGLRU: mm/vmscan.c enabled_show
//
// ParseOSRelease reads what os-release(5) describes.
package procfs
