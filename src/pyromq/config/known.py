"""Keys of Apache's files that this server knows and does not read.

KNOWN_UNUSED keeps a broker.conf that works with Apache from being reported as a list of mistakes.
NOT_YET are those among them whose value promises something: they are refused, not ignored.
Source: the setters of BrokerConfig, BrokerIdentity, MessageStoreConfig, NettyServerConfig,
NettyClientConfig, NamesrvConfig, ControllerConfig and AuthConfig 5.5.0.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Promise(NamedTuple):
    """What a key would promise."""

    harmless: frozenset[str]
    """Values, in lower case, that ask for nothing."""
    accepted: str


def _promise(what: str, *harmless: str) -> Promise:
    shown = " or ".join(value or "nothing" for value in harmless)
    return Promise(frozenset(harmless), f"only {shown}, because {what} is not available")


NOT_YET: Final[dict[str, Promise]] = {
    "aclEnable": _promise("access control", "false", ""),
    "authenticationEnabled": _promise("access control", "false", ""),
    "authorizationEnabled": _promise("access control", "false", ""),
    "duplicationEnable": _promise("replication", "false", ""),
    "enableControllerMode": _promise("failover", "false", ""),
    "enableDLegerCommitLog": _promise("DLedger", "false", ""),
    "inSyncReplicas": _promise("replication", "1", ""),
    "minInSyncReplicas": _promise("replication", "1", ""),
    "readOnlyCommitLogStorePaths": _promise("a store in several directories", ""),
    "storeType": _promise("RocksDB", "default", ""),
    "totalReplicas": _promise("replication", "1", ""),
}

_KEYS: Final = """
    accessMessageInMemoryHotRatio accessMessageInMemoryMaxRatio accountStatsEnable
    accountStatsPrintZeroValues ackMessageThreadPoolNums ackThreadPoolQueueCapacity
    aclCacheExpiredSecond aclCacheMaxNum aclCacheRefreshSecond aclEnable
    adminBrokerThreadPoolNums adminBrokerThreadPoolQueueCapacity allAckInSyncStateSet
    allowRecallWhenBrokerNotWriteable appendAckAsync appendCkAsync
    appendTopicForTimerDeleteKey asyncLearner asyncSendEnable authConfigPath
    authenticationEnabled authenticationMetadataProvider authenticationProvider
    authenticationStrategy authenticationWhitelist authorizationEnabled
    authorizationMetadataProvider authorizationProvider authorizationStrategy
    authorizationWhitelist autoDeleteUnusedStats autoMessageVersionOnTopicLen
    batchDispatchRequestThreadPoolNums bitMapLengthConsumeQueueExt
    bottomMostCompressionTypeForConsumeQueueStore broadcastOffsetExpireMaxSecond
    broadcastOffsetExpireSecond brokerConfigPath brokerElectionPriority
    brokerFastFailureEnable brokerHeartbeatInterval brokerNotActiveTimeoutMillis
    cgColdReadThreshold channelNotActiveInterval checkCommitLogOffsetOnRecover
    checkCRCOnRecover checkSyncStateSetPeriod
    cleanOfflineBrokerInterval cleanRocksDBDirtyCQIntervalMin
    cleanSwapedMapInterval clientAsyncSemaphoreValue clientCallbackExecutorThreads
    clientChannelMaxIdleTimeSeconds clientCloseSocketIfTimeout
    clientManagerThreadPoolQueueCapacity clientManageThreadPoolNums
    clientOnewaySemaphoreValue clientPooledByteBufAllocatorEnable
    clientRequestThreadPoolNums clientRequestThreadPoolQueueCapacity clientSocketRcvBufSize
    clientSocketSndBufSize clientWorkerThreads clusterName clusterTest coldCtrStrategyEnable
    coldDataFlowControlEnable coldDataScanEnable combineAssignOffsetCQType
    combineCQEnableCheckSelf combineCQLoadingCQTypes combineCQMaxExtraSearchCommitLogFiles
    combineCQPreferCQType combineCQUseRocksdbForLmq commercialBaseCount commercialSizePerMsg
    commitCommitLogLeastPages commitCommitLogThoroughInterval commitIntervalCommitLog
    commitLogForceSwapMapInterval commitLogRecoverMaxNum commitLogSwapMapInterval
    commitLogSwapMapReserveFileNum compactionCqMappedFileSize compactionMappedFileSize
    compactionScheduleInternal compactionThreadNum compatibleWithOldNameSrv
    compressedRegister configBlackList configManagerVersion configName configStorePath
    consumerFallbehindThreshold consumerManagerThreadPoolQueueCapacity
    consumerManageThreadPoolNums consumerOffsetUpdateVersionStep controllerAddr
    controllerDLegerGroup controllerDLegerPeers controllerDLegerSelfId
    controllerHeartBeatTimeoutMills controllerRequestThreadPoolQueueCapacity
    controllerStorePath controllerThreadPoolNums controllerType
    correctLogicMinOffsetForceInterval correctLogicMinOffsetSleepInterval
    dataReadAheadEnable debugLockEnable defaultMessageRequestMode defaultPopShareQueueNum
    defaultQueryMaxNum defaultThreadPoolNums defaultThreadPoolQueueCapacity
    delayOffsetUpdateVersionStep

    destroyMapedFileIntervalForcibly disableCallbackExecutor
    disableConsumeIfConsumerReadSlowly disableNettyWorkerGroup disappearTimeAfterStart
    diskFallRecorded
    dispatchCqCacheNum dispatchCqThreads dispatchFromSenderThread
    dLegerGroup dLegerPeers dLegerSelfId duplicationEnable electMasterMaxRetryCount
    enableAcceleratedRecovery enableAsyncReput enableAutoInSyncReplicas enableBatchPush
    enableBroadcastOffsetStore enableBuildConsumeQueueConcurrently enableCalcFilterBitMap
    enableCleanExpiredOffset enableCompaction enableConnectionMetrics enableConsumeQueueExt
    enableControllerInNamesrv enableControllerMode enableCreateSysGroup enabledAppendPropCRC
    enableDetailStat enableDLegerCommitLog enableElectUncleanMaster
    enableFastChannelEventProcess enableLagAndDlqMetrics enableLiteEventMode
    enableLitePopLog enableLmq enableLmqQuota enableLmqStats
    enableLogConsumeQueueRepeatedlyBuildWhenRecover enableMessageStoreMetrics
    enableMultiDispatch enableNetWorkFlowControl enableNotifyAfterPopOrderLockRelease
    enableNotifyBeforePopCalculateLag enablePopBatchAck enablePopBufferMerge enablePopLog
    enablePopMessageThreshold enablePopMetrics enablePropertyFilter enableReconnectForGoAway
    enableRegisterProducer enableRemoteEscape enableRemotingMetrics enableRequestMetrics
    enableRetryTopicV2 enableRocksDBLog enableRunningFlagsInFlush enableScheduleAsyncDeliver
    enableScheduleMessageStats enableShutdownGracefully enableSkipLongAwaitingAck
    enableSlaveActingMaster enableSplitMetadata enableSplitRegistration enableStatsMetrics
    enableTransactionMetrics endTransactionPoolQueueCapacity endTransactionThreadPoolNums
    estimateAccumulation expectConsumerNumUseFilter fastFailIfNoBufferInStorePool
    fetchControllerAddrByDnsLookup fetchNamesrvAddrByAddressServer
    fetchNameSrvAddrByDnsLookup fetchNamesrvAddrInterval
    filterDataCleanTimeSpan filterSupportRetry flushCommitLogLeastPages
    flushCommitLogThoroughInterval flushCommitLogTimed flushConsumeQueueLeastPages
    flushConsumeQueueThoroughInterval flushConsumerOffsetHistoryInterval
    flushConsumerOffsetInterval flushDelayOffsetInterval flushLeastPagesWhenWarmMapedFile
    forceVerifyPropCRC forwardTimeout globalColdReadThreshold haFlowControlEnable
    haHousekeepingInterval haMasterAddress haMaxGapNotInSync haMaxTimeSlaveNotCatchup
    haSendHeartbeatInterval haTransferBatchSize heartbeatThreadPoolNums
    heartbeatThreadPoolQueueCapacity highSpeedMode inBrokerContainer indexFileReadEnable
    indexFileWriteEnable indexRocksDBEnable initAuthenticationUser
    initPopOffsetByCheckMsgInMem innerClientAuthenticationCredentials inSyncReplicas
    isolateLogEnable iteratorWhenUseRocksdbConsumeQueue jraftConfig liteEventCheckInterval
    liteEventFullDispatchDelayTime liteEventFullDispatchDelayTimeForWildcardGroup
    liteLagCountMetricsEnable liteLagLatencyCollectEnable liteLagLatencyMetricsEnable
    liteLagLatencyTopK litePullMessageThreadPoolNums litePullThreadPoolQueueCapacity
    liteSubscriptionCheckInterval liteSubscriptionCheckTimeoutMills liteTtlCheckInterval
    loadBalancePollNameServerInterval loadBalanceProcessorThreadPoolNums
    loadBalanceThreadPoolQueueCapacity lockInStrictMode
    logicalDiskSpaceCleanForciblyThreshold logicQueueForceSwapMapInterval
    logicQueueSwapMapInterval logicQueueSwapMapReserveFileNum mappedFileSize
    mappedFileSizeConsumeQueueExt mappedFileSizeTimerLog mappedFileSwapEnable
    mapperFileSizeBatchConsumeQueue maxAsyncPutMessageRequests maxBatchDeleteFilesNum
    maxChecksumRange maxClientEventCount maxConsumeQueueScan maxErrorRateOfBloomFilter
    maxFilterMessageSize maxHaTransferByteInSecond maxLiteSubscriptionCount
    maxLmqConsumeQueueNum maxMessageFilterNumForNotification maxOffsetMapSize
    maxPopPollingSize maxReconnectIntervalTimeSeconds maxRecoveryCommitlogFiles
    maxRocksDBIndexQueryDays maxSlaveResendLength maxStatsIdleTimeInMinutes maxTopicLength
    maxTransferBytesOnMessageInDisk maxTransferCountOnMessageInDisk memTableFlushIntervalMs
    messageIndexSafe messageStorePlugIn metricGrpcExporterIntervalInMills
    metricGrpcExporterTimeOutInMills metricLoggingExporterIntervalInMills
    metricsExportBatchMaxDataPoints metricsExporterType metricsGrpcExporterHeader
    metricsGrpcExporterTarget metricsInDelta metricsLabel metricsOtelCardinalityLimit
    metricsPromExporterHost metricsPromExporterPort migrateAuthFromV1Enabled
    minInSyncReplicas minLiteTTl notifyBrokerRoleChanged offsetCheckInSlave
    persistConsumerOffsetIncrementally popCkMaxBufferSize
    popCkOffsetMaxQueueSize popCkStayBufferTime popCkStayBufferTimeOut
    popConsumerFSServiceInit popConsumerKVServiceEnable popConsumerKVServiceInit
    popConsumerKVServiceLog popFromRetryProbability popFromRetryProbabilityForPriority
    popInflightMessageThreshold popLongPollingForceNotifyInterval
    popPollingMapExpireTimeSeconds popPollingMapSize popPollingSize
    popResponseReturnActualRetryTopic popReviveConcurrency popReviveMaxAttemptTimes
    popReviveMaxReturnSizePerRead popReviveSkipIfGroupAbsent preferredLeaderId
    printChannelGroups printChannelGroupsMinNum priorityOrderAsc processReadEvent
    processReplyMessageThreadPoolNums productEnvName pullBatchMaxMessageCount
    pullMessageThreadPoolNums pullThreadPoolQueueCapacity putConsumeQueueDataByFileChannel
    putMessageFutureThreadPoolNums putMessageTimeout putMsgIndexHightWater
    putThreadPoolQueueCapacity queryMessageThreadPoolNums queryThreadPoolQueueCapacity
    readOnlyCommitLogStorePaths readUnCommitted realTimeNotifyConsumerChange
    realTimePersistRocksDBConfig recallMessageEnable recheckReputOffsetFromCq
    recoverConcurrently recoverThreadPoolNums redeleteHangedFileInterval
    rejectPullConsumerEnable rejectTransactionMessage replicasPerDiskPartition
    replyThreadPoolQueueCapacity retrieveMessageFromPopRetryTopicV1 reviveAckWaitMs
    reviveInterval reviveMaxSlow reviveQueueNum reviveScanTime rmqAddressServerDomain
    rmqAddressServerSubGroup rocketmqHome rocksdbCompressionType rocksdbCQDoubleWriteEnable
    rocksdbFlushWalFrequency rocksdbWalFileRollingThreshold sampleCountThreshold sampleSteps
    scanAvailableNameSrv scanInactiveMasterInterval scheduleAsyncDeliverMaxPendingLimit
    scheduleAsyncDeliverMaxResendNum2Blocked searchBcqByCacheEnable
    sendHeartbeatTimeoutMillis sendMessageThreadPoolNums sendThreadPoolQueueCapacity
    serverAsyncSemaphoreValue serverCallbackExecutorThreads serverLoadBalancerEnable
    serverNettyWorkerGroupEnable serverOnewaySemaphoreValue
    serverPooledByteBufAllocatorEnable serverSelectorThreads serverSocketRcvBufSize
    serverSocketSndBufSize serverWorkerThreads sharedByteBufferNum shutdownWaitTimeSeconds
    skipPreOnline skipWhenCKRePutReachMaxTimes slaveReadEnable slaveTimeout socksProxyConfig
    spinLockCollisionRetreatOptimalDegree splitMetadataSize splitRegistrationSize
    statefulAuthenticationCacheExpiredSecond statefulAuthenticationCacheMaxNum
    statefulAuthorizationCacheExpiredSecond statefulAuthorizationCacheMaxNum
    statRocksDBCQIntervalSec storePathBrokerIdentity storePathDLedgerCommitLog
    storePathEpochFile storeType subscriptionExpiredTimeout
    syncBrokerMemberGroupPeriod syncBrokerMetadataPeriod syncControllerMetadataPeriod
    syncFromLastFile syncMasterFlushOffsetWhenStartup timerColdDataCheckIntervalMs
    timerCongestNumEachSlot timerEnableCheckMetrics timerEnableRetryUntilSuccess
    timerFlushIntervalMs timerGetMessageThreadNum timerInterceptDelayLevel timerMaxDelaySec
    timerMetricSmallThreshold timerPrecisionMs timerProgressLogIntervalMs
    timerPutMessageThreadNum timerRecallToTimelineEnable timerRecallToTimeWheelEnable
    timerReputServiceCorePoolSize timerReputServiceMaxPoolSize
    timerReputServiceQueueCapacity timerRocksDBEnable timerRocksDBPrecisionMs
    timerRocksDBRollIntervalHours timerRocksDBRollMaxTps timerRocksDBRollRangeHours
    timerRocksDBStopScan timerRocksDBTimeExpiredMaxTps timerRollWindowSlot
    timerSkipUnknownError timerStopEnqueue timerWheelEnable timerWheelSnapshotFlush
    timerWheelSnapshotIntervalMs topicQueueLockNum totalReplicas transactionCheckInterval
    transactionCheckMax transactionCheckRocksdbCoreThreads transactionCheckRocksdbMaxThreads
    transactionCheckRocksdbQueueCapacity transactionMetricFlushInterval
    transactionOpBatchInterval transactionOpMsgMaxSize transactionTimeOut transferMsgByHeap
    transientStorePoolEnable transientStorePoolSize transRocksDBEnable
    transWriteOriginTransHalfEnable travelCqFileNumWhenGetMessage
    unRegisterBrokerQueueCapacity updateNameServerAddrPeriod useABSLock
    useEpollNativeSelector useMessageFilterForNotification usePIDColdCtrStrategy
    userCacheExpiredSecond userCacheMaxNum userCacheRefreshSecond
    useReentrantLockWhenPutMessage useSeparateRetryQueue useSeparateStorePathForRocksdbCQ
    useSingleRocksDBForAllConfigs useStaticSubscription useTLS
    waitTimeMillsInAckQueue waitTimeMillsInAdminBrokerQueue waitTimeMillsInHeartbeatQueue
    waitTimeMillsInLitePullQueue waitTimeMillsInPullQueue waitTimeMillsInSendQueue
    waitTimeMillsInTransactionQueue wakeCommitWhenPutMessage wakeFlushWhenPutMessage
    warmMapedFileEnable writeWithoutMmap
"""

KNOWN_UNUSED: Final[frozenset[str]] = frozenset(_KEYS.split())

__all__ = ["KNOWN_UNUSED", "NOT_YET", "Promise"]
