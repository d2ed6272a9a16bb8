// Package cgroupfs owns the files of the cgroup file systems, version 1 and 2:
// their formats, where they are mounted, which cgroup a process is in, and the
// order in which the files of one cgroup are read.
//
// It must not know what the numbers mean, how a file is opened (that is package
// kernel), or any file outside of a cgroup mount but for the two that say where
// one is.
//
// The Parse functions are total: any bytes give a value or an error. Amounts
// come out in bytes and names as the raw bytes that they are. They mirror these
// functions of Linux:
//
//   - ParseStat: mm/memcontrol.c memory_stat_format, mm/memcontrol-v1.c
//     memcg1_stat_format (before 6.11 mm/memcontrol.c memcg_stat_show), in 3.10
//     mm/memcontrol.c memcg_stat_show; also __memory_events_show,
//     swap_events_show, mem_cgroup_oom_control_read and kernel/cgroup/cgroup.c
//     cgroup_stat_show
//   - ParseNumber: mm/memcontrol.c memory_current_read, mem_cgroup_read_u64
//   - ParseLimit: mm/memcontrol.c seq_puts_memcg_tunable, mem_cgroup_read_u64
//   - ParsePIDs: kernel/cgroup/cgroup.c cgroup_procs_show, cgroup-v1.c
//     cgroup_pidlist_show
//   - ParsePressure: kernel/sched/psi.c psi_show
//   - ParseIOStat, ParseBlkio: block/blk-cgroup.c blkcg_print_one_stat, block/blk-throttle.c
//     tg_print_rwstat
//   - ParseMountinfo: fs/proc_namespace.c show_mountinfo with
//     kernel/cgroup/cgroup.c cgroup_show_options and cgroup-v1.c
//     cgroup1_show_options
//   - ParseMembership: kernel/cgroup/cgroup.c proc_cgroup_show
package cgroupfs
